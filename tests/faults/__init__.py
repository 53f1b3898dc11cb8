"""What may go wrong around a run: full disks, kills, other programs. Every run is a process of its own, as
users start it."""
