-- This grant is only needed if the right to connect was revoked from PUBLIC.
grant connect on database {database} to {role};
