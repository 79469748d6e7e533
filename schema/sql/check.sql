-- {about}
create or replace function walpost.setup_check() returns void language sql volatile set lock_timeout = '3s' as $$
  {add}
$$;

select walpost.setup_check() where {there}not exists (
  select from pg_catalog.pg_constraint where conrelid = cast({outbox_name} as regclass) and conname = {name}
);

drop function walpost.setup_check();
