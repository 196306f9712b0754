CREATE TABLE parcels (
    tenant_id uuid NOT NULL REFERENCES tenants (id),
    id uuid NOT NULL,
    message_id uuid,
    status text NOT NULL DEFAULT 'WAITING',
    recipient_sealed bytea,
    recipient_hash bytea,
    PRIMARY KEY (tenant_id, id)
);
CREATE TABLE parcel_events (
    tenant_id uuid NOT NULL,
    parcel_id uuid NOT NULL,
    sequence bigint GENERATED ALWAYS AS IDENTITY,
    transaction_id xid8 NOT NULL DEFAULT pg_current_xact_id(),
    status text NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, parcel_id, sequence)
);
CREATE INDEX ix_parcel_events_cursor ON parcel_events (tenant_id, transaction_id, sequence);
ALTER TABLE parcels ENABLE ROW LEVEL SECURITY;
ALTER TABLE parcels FORCE ROW LEVEL SECURITY;
ALTER TABLE parcel_events ENABLE ROW LEVEL SECURITY;
ALTER TABLE parcel_events FORCE ROW LEVEL SECURITY;
CREATE POLICY of_the_tenants_named ON parcels TO PUBLIC
    USING (tenant_id = ANY ((SELECT string_to_array(current_setting('app.tenants', true), ',')::uuid[])::uuid[]));
CREATE POLICY of_all_while_none_is_named ON parcels TO interalpha_worker, CURRENT_USER
    USING ((SELECT coalesce(current_setting('app.tenants', true), '') = ''));
CREATE POLICY of_the_tenants_named ON parcel_events TO PUBLIC
    USING (tenant_id = ANY ((SELECT string_to_array(current_setting('app.tenants', true), ',')::uuid[])::uuid[]));
CREATE POLICY of_all_while_none_is_named ON parcel_events TO interalpha_worker, CURRENT_USER
    USING ((SELECT coalesce(current_setting('app.tenants', true), '') = ''));
GRANT SELECT, INSERT, UPDATE ON parcels, parcel_events TO interalpha_app, interalpha_worker;
