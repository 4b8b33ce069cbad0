"""An exchange on 127.0.0.1 for tests and rehearsals: it plays the simulator or a recording in an exchange's own format."""
