-- Only a write shows that writing works.
redis.call('SET', prefix .. ':checked_at', text(now_ms))
return {}
