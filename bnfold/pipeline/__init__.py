"""The way through the rooms: load, fold, write, verify, withdraw what fails."""
