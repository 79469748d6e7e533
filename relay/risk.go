package relay

import (
	"context"

	"walpost/relay/postgres"
)

// warnOfRisks logs what works but endangers the database or the events. It warns once of the server's settings. It warns of an unencrypted
// connection, unless the connection before was unencrypted, too.
func (r *Relay) warnOfRisks(ctx context.Context, db *postgres.DB) error {
	risk := db.UnencryptedRisk()
	if risk != nil && !r.unencrypted {
		r.log.Warn(risk.What, "cure", risk.Cure)
	}
	r.unencrypted = risk != nil
	if r.risksLogged {
		return nil
	}
	risk, err := db.SlotLimitRisk(ctx)
	if err != nil {
		return err
	}
	if risk != nil {
		r.log.Warn(risk.What, "cure", risk.Cure)
	}
	r.risksLogged = true
	return nil
}
