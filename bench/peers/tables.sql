-- What a team would lay out for the same job: a message, its history, and nothing that is sealed or kept apart.
DROP SCHEMA IF EXISTS peer CASCADE;
CREATE SCHEMA peer;
CREATE TABLE peer.messages (
    id uuid PRIMARY KEY,
    tenant_id uuid NOT NULL,
    channel text NOT NULL,
    recipient text NOT NULL,
    content jsonb NOT NULL,
    status text NOT NULL,
    idempotency_key text,
    provider_message_id text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    UNIQUE (tenant_id, idempotency_key)
);
CREATE INDEX ON peer.messages (tenant_id, created_at DESC);
CREATE TABLE peer.message_events (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    message_id uuid NOT NULL REFERENCES peer.messages,
    status text NOT NULL,
    at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX ON peer.message_events (message_id);
