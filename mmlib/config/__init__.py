"""The bot's configuration: models, loading, flags, rollback, profiles."""
