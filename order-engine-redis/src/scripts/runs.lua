-- Notes whose keys a run is about to change. A server that is killed in the middle of a write can leave the
-- first commands of a run in its file, and runs them there when it loads the file for the second time. The
-- note is the first of them, so that `mend.lua` finds all that they touched.
local runs = prefix .. ':runs'

-- Begins a run that changes keys: its number. What it touches is a list of ids, each with the number of the
-- event after which sinks may miss something, or nothing.
local function begin(kind, touched)
  local last = tonumber(redis.call('HGET', runs, 'last')) or 0
  local run = text(math.max(clock[1] * 1000000 + clock[2], last + 1))
  redis.call('HSET', runs, run, kind .. '\n' .. table.concat(touched, '\n'))
  return run
end

-- Ends the run: it is whole, and the note of the one before is not needed any more.
local function finish(run)
  local last = redis.call('HGET', runs, 'last')
  redis.call('HSET', runs, 'last', run)
  if last then
    redis.call('HDEL', runs, last)
  end
end
