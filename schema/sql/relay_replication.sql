-- The relay streams the WAL. Its role must also be able to log in. On RDS and Aurora grant rds_replication instead.
alter role {role} replication;
