-- A missing case and a found case that DNA has confirmed to be one child. There is no row without a laboratory's result.
CREATE TABLE reunions (
    n            INTEGER PRIMARY KEY AUTOINCREMENT,
    missing_case TEXT    NOT NULL UNIQUE REFERENCES cases (id) ON DELETE CASCADE,
    found_case   TEXT    NOT NULL UNIQUE REFERENCES cases (id) ON DELETE CASCADE,
    laboratory   TEXT    NOT NULL CHECK (laboratory <> ''),
    kit          TEXT    NOT NULL CHECK (kit <> ''),
    confirmed_on TEXT    NOT NULL CHECK (confirmed_on <> ''),
    recorded_by  TEXT    NOT NULL,
    recorded_at  INTEGER NOT NULL
) STRICT;
