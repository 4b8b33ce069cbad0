"""The two JSON Lines feeds: schema, writer, reader with quarantine."""
