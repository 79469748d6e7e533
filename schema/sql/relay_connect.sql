-- Everybody may connect unless that was revoked.
grant connect on database {database} to {role};
