-- Who calls and who administers. Ids are ours and sort by creation; states and permissions are the contract's numbers;
-- `version` is the etag. Foreign keys carry the organisation along, so that no row can point into another tenant's tree.
CREATE TABLE organisations (
    organisation_id      text PRIMARY KEY,
    display_name         text NOT NULL CHECK (length(display_name) BETWEEN 1 AND 128),
    state                smallint NOT NULL CHECK (state BETWEEN 1 AND 3),
    time_zone            text NOT NULL,
    discount_ppm         integer NOT NULL CHECK (discount_ppm BETWEEN 0 AND 1000000),
    data_class           text NOT NULL,
    unknown_price_policy text NOT NULL,
    version              bigint NOT NULL,
    created_at           timestamptz NOT NULL
);

CREATE TABLE teams (
    team_id         text PRIMARY KEY,
    organisation_id text NOT NULL REFERENCES organisations,
    display_name    text NOT NULL CHECK (length(display_name) BETWEEN 1 AND 128),
    state           smallint NOT NULL CHECK (state BETWEEN 1 AND 3),
    version         bigint NOT NULL,
    created_at      timestamptz NOT NULL,
    UNIQUE (organisation_id, team_id)
);

CREATE TABLE projects (
    project_id      text PRIMARY KEY,
    team_id         text NOT NULL,
    organisation_id text NOT NULL,
    display_name    text NOT NULL CHECK (length(display_name) BETWEEN 1 AND 128),
    state           smallint NOT NULL CHECK (state BETWEEN 1 AND 3),
    data_class      text NOT NULL,
    capture_content boolean NOT NULL,
    version         bigint NOT NULL,
    created_at      timestamptz NOT NULL,
    FOREIGN KEY (organisation_id, team_id) REFERENCES teams (organisation_id, team_id),
    UNIQUE (organisation_id, team_id, project_id)
);

CREATE TABLE users (
    user_id         text PRIMARY KEY,
    organisation_id text NOT NULL REFERENCES organisations,
    external_id     text NOT NULL,
    state           smallint NOT NULL CHECK (state BETWEEN 1 AND 3),
    version         bigint NOT NULL,
    created_at      timestamptz NOT NULL,
    UNIQUE (organisation_id, external_id),
    UNIQUE (organisation_id, user_id)
);

CREATE TABLE keys (
    key_id                     text PRIMARY KEY,
    project_id                 text NOT NULL,
    team_id                    text NOT NULL,
    organisation_id            text NOT NULL,
    user_id                    text,
    display_name               text NOT NULL CHECK (length(display_name) BETWEEN 1 AND 128),
    secret_hash                bytea NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    secret_prefix              text NOT NULL,
    previous_secret_hash       bytea UNIQUE CHECK (length(previous_secret_hash) = 32),
    previous_secret_expires_at timestamptz,
    state                      smallint NOT NULL CHECK (state BETWEEN 1 AND 3),
    permissions                smallint[] NOT NULL,
    expires_at                 timestamptz,
    model_patterns             text[] NOT NULL,
    version                    bigint NOT NULL,
    created_at                 timestamptz NOT NULL,
    FOREIGN KEY (organisation_id, team_id, project_id) REFERENCES projects (organisation_id, team_id, project_id),
    FOREIGN KEY (organisation_id, user_id) REFERENCES users (organisation_id, user_id),
    CHECK ((previous_secret_hash IS NULL) = (previous_secret_expires_at IS NULL))
);
CREATE INDEX keys_by_project ON keys (project_id);
CREATE INDEX keys_by_user ON keys (user_id) WHERE user_id IS NOT NULL;

CREATE TABLE admin_tokens (
    admin_token_id  text PRIMARY KEY,
    display_name    text NOT NULL CHECK (length(display_name) BETWEEN 1 AND 128),
    role            smallint NOT NULL CHECK (role BETWEEN 1 AND 4),
    organisation_id text REFERENCES organisations,
    team_id         text,
    secret_hash     bytea NOT NULL UNIQUE CHECK (length(secret_hash) = 32),
    secret_prefix   text NOT NULL,
    state           smallint NOT NULL CHECK (state BETWEEN 1 AND 3),
    expires_at      timestamptz,
    version         bigint NOT NULL,
    created_at      timestamptz NOT NULL,
    FOREIGN KEY (organisation_id, team_id) REFERENCES teams (organisation_id, team_id),
    CHECK ((role = 1) = (organisation_id IS NULL))
);
