-- Reads the secrets whose ids stand in a file, each once.
local ids

function init(args)
   ids = assert(io.open(args[1]))
end

function request()
   -- Without an id left the daemon is asked for one that never was, and wrk reports the 404.
   return wrk.format("GET", "/secrets/" .. (ids:read("*l") or string.rep("0", 64)))
end
