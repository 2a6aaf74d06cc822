-- What wrk does: asks for each line of a file in turn, and tells in one line of JSON what came of it.
-- wrk … -s load.lua URL -- FILE

local requests, number = {}, 0

function init(args)
    for target in io.lines(args[1]) do
        requests[#requests + 1] = wrk.format("GET", target)
    end
end

function request()
    number = number % #requests + 1
    return requests[number]
end

function done(summary, latency)
    local errors = summary.errors
    io.write(string.format(
        'RESULT {"requests": %d, "seconds": %f, "p50": %d, "p99": %d, "refused": %d, "broken": %d}\n',
        summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
        errors.status, errors.connect + errors.read + errors.write + errors.timeout
    ))
end
