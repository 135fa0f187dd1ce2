"""HTTP connections and bodies, limits on them, and access: API keys and origins."""
