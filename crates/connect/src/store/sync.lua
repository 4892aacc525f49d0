-- A member says how many it believes there are. KEYS: heartbeats, poolsize. ARGV: member, its belief, seconds to live.
-- Gives how many members there are, the largest belief, 1 if all beliefs are the same, and the member's place.
local now = tonumber(redis.call('TIME')[1])
redis.call('ZADD', KEYS[1], now, ARGV[1])
redis.call('ZADD', KEYS[2], ARGV[2], ARGV[1])
local oldest = '(' .. string.format('%d', now - tonumber(ARGV[3]))
for _, silent in ipairs(redis.call('ZRANGEBYSCORE', KEYS[1], '-inf', oldest)) do
  redis.call('ZREM', KEYS[1], silent)
  redis.call('ZREM', KEYS[2], silent)
end
local members = redis.call('ZCARD', KEYS[1])
local smallest = tonumber(redis.call('ZRANGE', KEYS[2], 0, 0, 'WITHSCORES')[2])
local largest = tonumber(redis.call('ZRANGE', KEYS[2], -1, -1, 'WITHSCORES')[2])
local unanimous = 0
-- A belief without a heartbeat, or the other way round, is a member that is half gone.
if smallest == largest and redis.call('ZCARD', KEYS[2]) == members then
  unanimous = 1
end
return { members, largest, unanimous, redis.call('ZRANK', KEYS[2], ARGV[1]) }
