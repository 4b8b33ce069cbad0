"""The bot on a live market: the stages of the replay on a fixed schedule of real time, and the replay of what was recorded."""
