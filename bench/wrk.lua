-- wrk -s wrk.lua URL -- METHOD BODYFILE; one line of result, times in microseconds.

function init(args)
    wrk.method = args[1]
    if args[2] ~= "" then
        local file = assert(io.open(args[2], "rb"))
        wrk.body = file:read("*a")
        file:close()
    end
end

function done(summary, latency, requests)
    local e = summary.errors
    io.write(string.format("RESULT %d %d %d %d %d %d\n",
        summary.requests, e.connect + e.read + e.write + e.status + e.timeout,
        summary.duration, latency:percentile(50), latency:percentile(99), latency.max))
end
