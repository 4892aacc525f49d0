-- A member comes. KEYS: heartbeats, poolsize, prev_max_filled, prev_max_filled_ttl. ARGV: member, seconds to live.
-- Gives how many members there are, and what a member of this name had reached when it left, or nil.
local now = tonumber(redis.call('TIME')[1])
local oldest = '(' .. string.format('%d', now - tonumber(ARGV[2]))
redis.call('ZADD', KEYS[1], now, ARGV[1])
for _, silent in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', oldest)) do
  redis.call('ZREM', KEYS[1], silent)
  redis.call('ZREM', KEYS[2], silent)
end
for _, gone in ipairs(redis.call('ZRANGEBYSCORE', KEYS[4], '-inf', oldest)) do
  redis.call('ZREM', KEYS[4], gone)
  redis.call('HDEL', KEYS[3], gone)
end
local members = redis.call('ZCARD', KEYS[1])
redis.call('ZADD', KEYS[2], members, ARGV[1])
return { members, redis.call('HGET', KEYS[3], ARGV[1]) }
