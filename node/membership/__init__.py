"""Who else there is and what they hold: statements, their spread, audits (docs/spec/membership.md)."""
