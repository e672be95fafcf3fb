-- Writes, because only a write shows that the server takes writes.
redis.call('SET', prefix .. ':checked_at', text(now_ms))
return {}
