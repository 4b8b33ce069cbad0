"""Live markets: public streams of an exchange as the event rows that a replay reads, and as a recording. Never with a key."""
