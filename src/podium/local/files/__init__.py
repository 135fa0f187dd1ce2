"""The files of models: how they are found, downloaded and read."""
