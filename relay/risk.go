package relay

import (
	"context"

	"walpost/relay/postgres"
)

// warnOfRisks logs what works and may cost the database or the events. Of the server's settings it does so once; of a connection that is not
// encrypted, whenever the one before was.
func (r *Relay) warnOfRisks(ctx context.Context, db *postgres.DB) error {
	risk := db.UnencryptedRisk()
	if risk != nil && !r.unencrypted {
		r.log.Warn(risk.What, "cure", risk.Cure)
	}
	r.unencrypted = risk != nil
	if r.risksTold {
		return nil
	}
	risk, err := db.SlotLimitRisk(ctx)
	if err != nil {
		return err
	}
	if risk != nil {
		r.log.Warn(risk.What, "cure", risk.Cure)
	}
	r.risksTold = true
	return nil
}
