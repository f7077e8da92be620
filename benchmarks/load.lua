-- wrk -s load.lua URL -- SEED HOT READS PATH [ETAG]
-- HOT: the share of submissions that send one and the same number; the others are uniform over a million.
-- READS: the share of requests that GET PATH; if ETAG is given, with If-None-Match.
local hot, reads, read, headers

function init(arguments)
  math.randomseed(tonumber(arguments[1]))
  hot, reads = tonumber(arguments[2]), tonumber(arguments[3])
  read = wrk.format("GET", arguments[4], { ["If-None-Match"] = arguments[5] })
  headers = { ["Content-Type"] = "application/json" }
end

function request()
  if math.random() < reads then
    return read
  end
  local number = math.random() < hot and 7 or math.random(1000000)
  return wrk.format("POST", "/api/fizzbuzz", headers, '{"number": ' .. number .. "}")
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %f, "p50_ms": %f, "p99_ms": %f, "rejected": %d, "broken": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1e3, latency:percentile(99) / 1e3,
    errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
