-- Regions that cases belong to and that officers are responsible for. A code covers the codes that go on behind it with a
-- hyphen: CN covers CN-51.
CREATE TABLE regions (
    code  TEXT PRIMARY KEY,
    names TEXT NOT NULL -- JSON: language → name
) STRICT, WITHOUT ROWID;

CREATE TABLE accounts (
    n            INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT    NOT NULL UNIQUE,
    login        TEXT    NOT NULL, -- lower case; empty for a family, which signs in by its link
    name         TEXT    NOT NULL,
    role         TEXT    NOT NULL CHECK (role IN ('family', 'officer', 'examiner', 'supervisor', 'laboratory', 'auditor', 'administrator')),
    regions      TEXT    NOT NULL, -- JSON; "*" is everywhere
    organisation TEXT    NOT NULL, -- of a laboratory: which one
    language     TEXT    NOT NULL,
    password     TEXT    NOT NULL DEFAULT '', -- argon2id, in PHC's format; empty: none
    totp         BLOB    NOT NULL DEFAULT x'', -- the secret, sealed; empty: none
    totp_pending BLOB    NOT NULL DEFAULT x'', -- the secret that the invitation under way shows, sealed
    totp_step    INTEGER NOT NULL DEFAULT 0,  -- of the last code used: a code is good once
    subject      TEXT    NOT NULL DEFAULT '', -- "issuer subject" of an outside sign-in
    invite       BLOB    NOT NULL DEFAULT x'', -- hash of the invitation under way
    invite_until INTEGER NOT NULL DEFAULT 0,
    created_by   TEXT    NOT NULL,
    created_at   INTEGER NOT NULL,
    disabled_at  INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX accounts_login ON accounts (login) WHERE login <> '';
CREATE UNIQUE INDEX accounts_subject ON accounts (subject) WHERE subject <> '';
CREATE UNIQUE INDEX accounts_invite ON accounts (invite) WHERE invite <> x'';

-- A key acts as an account. Keys made before there were accounts get one that may do what they could.
ALTER TABLE keys ADD COLUMN account_id TEXT NOT NULL DEFAULT '';
INSERT INTO accounts (id, login, name, role, regions, organisation, language, created_by, created_at)
    SELECT 'a_' || substr(id, 3), '', name, 'supervisor', '["*"]', '', '', '', created_at FROM keys;
UPDATE keys SET account_id = 'a_' || substr(id, 3);
CREATE INDEX keys_account ON keys (account_id);

-- Whoever was signed in signs in again.
DROP TABLE sessions;
CREATE TABLE sessions (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL UNIQUE, -- names it where it is listed; it opens nothing
    hash       BLOB    NOT NULL UNIQUE,
    account_id TEXT    NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    purpose    TEXT    NOT NULL DEFAULT '',
    device     TEXT    NOT NULL, -- as the browser names itself
    created_at INTEGER NOT NULL,
    seen_at    INTEGER NOT NULL, -- to the minute
    expires_at INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_account ON sessions (account_id);
CREATE INDEX sessions_expiry ON sessions (expires_at);

ALTER TABLE cases ADD COLUMN region      TEXT    NOT NULL DEFAULT '';
ALTER TABLE cases ADD COLUMN reported_by TEXT    NOT NULL DEFAULT ''; -- account
ALTER TABLE cases ADD COLUMN verified    TEXT    NOT NULL DEFAULT ''; -- police report's number, once an officer has checked a family's report
ALTER TABLE cases ADD COLUMN closed_as   TEXT    NOT NULL DEFAULT '' CHECK (closed_as IN ('', 'closed', 'withdrawn', 'reunited'));
ALTER TABLE cases ADD COLUMN destroy_at  INTEGER NOT NULL DEFAULT 0;
CREATE INDEX cases_region ON cases (region);
CREATE INDEX cases_destroy ON cases (destroy_at) WHERE destroy_at > 0;
CREATE INDEX cases_reporter ON cases (reported_by) WHERE reported_by <> '';

-- A family that reported a case. Its account has no login: a private link and a code that is good once open it.
CREATE TABLE families (
    account_id TEXT    NOT NULL UNIQUE REFERENCES accounts (id) ON DELETE CASCADE,
    case_id    TEXT    NOT NULL UNIQUE REFERENCES cases (id) ON DELETE CASCADE,
    contact    BLOB    NOT NULL, -- sealed
    link       BLOB    NOT NULL UNIQUE, -- hash
    code       BLOB    NOT NULL, -- hash; empty once it was used
    code_until INTEGER NOT NULL
) STRICT;

-- The open cases that the standing search has yet to compare, and the change each is at. The triggers keep it, so that no
-- change can be forgotten; a case changes first and notes the change after.
CREATE TABLE due (
    case_id TEXT    PRIMARY KEY REFERENCES cases (id) ON DELETE CASCADE,
    seq     INTEGER NOT NULL UNIQUE
) STRICT, WITHOUT ROWID;
INSERT INTO due SELECT x.case_id, x.seq FROM case_changes x JOIN cases c ON c.id = x.case_id WHERE c.status = 'open';
CREATE TRIGGER due_new AFTER INSERT ON case_changes BEGIN
    INSERT INTO due SELECT id, new.seq FROM cases WHERE id = new.case_id AND status = 'open';
END;
CREATE TRIGGER due_again AFTER UPDATE OF seq ON case_changes BEGIN
    DELETE FROM due WHERE case_id = new.case_id;
    INSERT INTO due SELECT id, new.seq FROM cases WHERE id = new.case_id AND status = 'open';
END;

CREATE TABLE leads (
    n            INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT    NOT NULL UNIQUE,
    missing_case TEXT    NOT NULL REFERENCES cases (id) ON DELETE CASCADE,
    found_case   TEXT    NOT NULL REFERENCES cases (id) ON DELETE CASCADE,
    state        TEXT    NOT NULL CHECK (state IN ('open', 'disputed', 'potential', 'no_candidate', 'inconclusive', 'dna', 'confirmed', 'excluded', 'reunited')),
    source       TEXT    NOT NULL CHECK (source IN ('standing', 'family', 'officer')),
    note         TEXT    NOT NULL,
    opened_by    TEXT    NOT NULL, -- account; empty where the standing search did
    score        REAL    NOT NULL, -- log10 of the likelihood ratio, now
    faces        REAL    NOT NULL,
    records      REAL    NOT NULL,
    missing_face TEXT    NOT NULL,
    found_face   TEXT    NOT NULL,
    model_set    TEXT    NOT NULL,
    round        INTEGER NOT NULL DEFAULT 1, -- grows when rising evidence opens a judged lead again
    judged_score REAL    NOT NULL DEFAULT 0, -- score when it was last judged
    reopened     INTEGER NOT NULL DEFAULT 0, -- when
    created_at   INTEGER NOT NULL,
    updated_at   INTEGER NOT NULL,
    -- Place in the queue. A day of waiting lifts every lead by the same 0.1, so the order does not depend on the day: it is
    -- enough to take 0.1 off for every day that a lead came later.
    urgency      REAL    NOT NULL AS (score - 0.1 * coalesce(nullif(reopened, 0), created_at) / 86400000.0),
    UNIQUE (missing_case, found_case)
) STRICT;
CREATE INDEX leads_found ON leads (found_case);
CREATE INDEX leads_queue ON leads (state, urgency DESC);

CREATE TABLE verdicts (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL UNIQUE,
    lead_id    TEXT    NOT NULL REFERENCES leads (id) ON DELETE CASCADE,
    round      INTEGER NOT NULL,
    seat       TEXT    NOT NULL CHECK (seat IN ('first', 'second', 'supervisor')),
    account_id TEXT    NOT NULL,
    finding    TEXT    NOT NULL CHECK (finding IN ('potential_candidate', 'no_candidate', 'inconclusive')),
    reasons    TEXT    NOT NULL,
    frozen     BLOB    NOT NULL, -- JSON, sealed: both cases, their photos and the evidence as they were
    at         INTEGER NOT NULL,
    UNIQUE (lead_id, round, seat),
    UNIQUE (lead_id, round, account_id)
) STRICT;

-- Pictures as examiners saw them, encrypted with the case's key, so that they end with it.
CREATE TABLE exhibits (
    case_id  TEXT NOT NULL REFERENCES cases (id) ON DELETE CASCADE,
    photo_id TEXT NOT NULL,
    sealed   BLOB NOT NULL,
    UNIQUE (case_id, photo_id)
) STRICT;

CREATE TABLE dna_requests (
    n            INTEGER PRIMARY KEY AUTOINCREMENT,
    id           TEXT    NOT NULL UNIQUE,
    lead_id      TEXT    NOT NULL REFERENCES leads (id) ON DELETE CASCADE,
    laboratory   TEXT    NOT NULL CHECK (laboratory <> ''),
    requested_by TEXT    NOT NULL,
    requested_at INTEGER NOT NULL,
    result       TEXT    NOT NULL DEFAULT '' CHECK (result IN ('', 'confirmed', 'excluded', 'inconclusive')),
    report       TEXT    NOT NULL DEFAULT '', -- the laboratory's own number for it
    result_on    TEXT    NOT NULL DEFAULT '',
    result_by    TEXT    NOT NULL DEFAULT '',
    result_at    INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX dna_open ON dna_requests (lead_id) WHERE result = '';
CREATE INDEX dna_laboratory ON dna_requests (laboratory, result);

CREATE TABLE dna_samples (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL UNIQUE,
    request_id TEXT    NOT NULL REFERENCES dna_requests (id) ON DELETE CASCADE,
    whose      TEXT    NOT NULL CHECK (whose IN ('child', 'mother', 'father', 'sibling', 'other')),
    kit        TEXT    NOT NULL UNIQUE CHECK (kit <> ''),
    taken_on   TEXT    NOT NULL CHECK (taken_on <> ''),
    added_by   TEXT    NOT NULL,
    added_at   INTEGER NOT NULL
) STRICT;
CREATE INDEX dna_samples_request ON dna_samples (request_id);

-- What the public sees of a found child.
CREATE TABLE publications (
    n           INTEGER PRIMARY KEY AUTOINCREMENT,
    id          TEXT    NOT NULL UNIQUE,
    case_id     TEXT    NOT NULL REFERENCES cases (id) ON DELETE CASCADE,
    state       TEXT    NOT NULL CHECK (state IN ('proposed', 'refused', 'published', 'removal', 'removed')),
    sex         TEXT    NOT NULL CHECK (sex IN ('', 'female', 'male')),
    age_from    INTEGER NOT NULL,
    age_to      INTEGER NOT NULL,
    found_on    TEXT    NOT NULL, -- a month or a year
    place       TEXT    NOT NULL, -- coarse
    region      TEXT    NOT NULL,
    marks       TEXT    NOT NULL,
    proposed_by TEXT    NOT NULL,
    proposed_at INTEGER NOT NULL,
    decided_by  TEXT    NOT NULL DEFAULT '',
    decided_at  INTEGER NOT NULL DEFAULT 0,
    removal_by  TEXT    NOT NULL DEFAULT '',
    removal_why TEXT    NOT NULL DEFAULT '',
    removal_at  INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX publications_live ON publications (case_id) WHERE state IN ('proposed', 'published', 'removal');
CREATE INDEX publications_state ON publications (state, n);

CREATE TABLE published_pictures (
    id             TEXT    NOT NULL UNIQUE,
    publication_id TEXT    NOT NULL REFERENCES publications (id) ON DELETE CASCADE,
    position       INTEGER NOT NULL,
    photo_id       TEXT    NOT NULL,
    sealed         BLOB    NOT NULL -- a JPEG without metadata, encrypted with the case's key
) STRICT;
CREATE INDEX published_pictures_of ON published_pictures (publication_id, position);

-- Who asked to see a case of another region, and who allowed it.
CREATE TABLE asks (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL UNIQUE,
    case_id    TEXT    NOT NULL REFERENCES cases (id) ON DELETE CASCADE,
    account_id TEXT    NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    why        TEXT    NOT NULL CHECK (why <> ''),
    asked_at   INTEGER NOT NULL,
    answer     TEXT    NOT NULL DEFAULT '' CHECK (answer IN ('', 'granted', 'refused')),
    answered_by TEXT   NOT NULL DEFAULT '',
    answered_at INTEGER NOT NULL DEFAULT 0,
    until      INTEGER NOT NULL DEFAULT 0
) STRICT;
CREATE UNIQUE INDEX asks_open ON asks (case_id, account_id) WHERE answer = '';
CREATE INDEX asks_account ON asks (account_id, answer);

CREATE TABLE saved_searches (
    n          INTEGER PRIMARY KEY AUTOINCREMENT,
    id         TEXT    NOT NULL UNIQUE,
    account_id TEXT    NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    name       TEXT    NOT NULL CHECK (name <> ''),
    query      TEXT    NOT NULL,
    created_at INTEGER NOT NULL,
    UNIQUE (account_id, name)
) STRICT;

-- Append-only, each row chained to the one before. It holds identifiers, never what is known of a child.
CREATE TABLE audit (
    n       INTEGER PRIMARY KEY,
    at      INTEGER NOT NULL,
    account TEXT    NOT NULL,
    role    TEXT    NOT NULL,
    via     TEXT    NOT NULL, -- session or key
    action  TEXT    NOT NULL,
    case_id TEXT    NOT NULL,
    subject TEXT    NOT NULL,
    purpose TEXT    NOT NULL,
    detail  TEXT    NOT NULL, -- JSON
    hash    BLOB    NOT NULL
) STRICT;
CREATE INDEX audit_case ON audit (case_id, n) WHERE case_id <> '';
CREATE INDEX audit_account ON audit (account, at);
CREATE INDEX audit_subject ON audit (subject, n) WHERE substr(subject, 1, 2) IN ('l_', 'd_'); -- leads and DNA requests
CREATE INDEX audit_action ON audit (action, n);
CREATE INDEX audit_looks ON audit (at, account) WHERE action IN ('search.made', 'photo.looked');
CREATE TRIGGER audit_no_update BEFORE UPDATE ON audit BEGIN SELECT raise(ABORT, 'the audit is append-only'); END;
-- Without it INSERT OR REPLACE would be an update.
CREATE TRIGGER audit_no_replace BEFORE INSERT ON audit WHEN NEW.n <= (SELECT max(n) FROM audit)
    BEGIN SELECT raise(ABORT, 'the audit is append-only'); END;
CREATE TRIGGER audit_no_delete BEFORE DELETE ON audit BEGIN SELECT raise(ABORT, 'the audit is append-only'); END;

-- Requests are an account's from here on, whether it comes with a key or a session.
DROP TABLE requests;
CREATE TABLE requests (
    account_id  TEXT    NOT NULL REFERENCES accounts (id) ON DELETE CASCADE,
    name        TEXT    NOT NULL,
    fingerprint BLOB    NOT NULL,
    owner       TEXT    NOT NULL, -- the process that is at it; '' once it is done
    status      INTEGER NOT NULL DEFAULT 0,
    photo_id    TEXT    NOT NULL DEFAULT '',
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (account_id, name)
) STRICT, WITHOUT ROWID;
CREATE INDEX requests_age ON requests (created_at);
