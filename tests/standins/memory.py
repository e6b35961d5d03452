"""A folder in memory."""


class Memory(dict):
    """Files by name; what checkpoints need of a folder."""

    def has(self, name):
        return name in self

    def read_bytes(self, name):
        return self[name]

    def write_bytes(self, name, data):
        self[name] = data
