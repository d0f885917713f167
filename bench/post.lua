-- wrk: the same small task again and again; each makes a session of its own.
wrk.method = "POST"
wrk.body = os.getenv("BODY") or '{"prompt":"what is the weather in Seoul"}'
wrk.headers["content-type"] = "application/json"
