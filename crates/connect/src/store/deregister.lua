-- A member leaves. KEYS: heartbeats, poolsize, prev_max_filled, prev_max_filled_ttl. ARGV: member, what it has reached,
-- seconds to live.
redis.call('ZREM', KEYS[1], ARGV[1])
redis.call('ZREM', KEYS[2], ARGV[1])
redis.call('HSET', KEYS[3], ARGV[1], ARGV[2])
redis.call('ZADD', KEYS[4], redis.call('TIME')[1], ARGV[1])
-- By then everything in them is too old to be asked for.
redis.call('EXPIRE', KEYS[3], ARGV[3] + 1)
redis.call('EXPIRE', KEYS[4], ARGV[3] + 1)
return 1
