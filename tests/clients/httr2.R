# R's httr2: reads what to ask, and writes what was answered, one JSON a line.

library(httr2)

prepared <- function(asked) {
  req <- request(asked$url)
  req <- req_error(req, is_error = function(resp) FALSE)
  req <- req_method(req, asked$method)
  for (pair in asked$parameters) {
    req <- do.call(req_url_query, c(list(req), setNames(list(pair[[2]]), pair[[1]])))
  }
  for (pair in asked$headers) {
    req <- do.call(req_headers, c(list(req), setNames(list(pair[[2]]), pair[[1]])))
  }
  if (!is.null(asked$content)) {
    req <- req_body_raw(req, charToRaw(asked$content), type = "application/json")
    req <- req_method(req, asked$method)
  }
  if (!is.null(asked$user)) {
    req <- req_auth_basic(req, asked$user[[1]], asked$user[[2]])
  }
  req
}

told <- function(resp) {
  headers <- resp_headers(resp)
  pairs <- Map(function(name, value) list(name, value), names(headers), unlist(headers))
  list(
    status = resp_status(resp),
    headers = unname(pairs),
    body = jsonlite::base64_enc(resp$body)
  )
}

answered <- function(asked) {
  req <- prepared(asked)
  if (asked$at_once) {
    together <- if (exists("req_perform_parallel")) req_perform_parallel else multi_req_perform
    return(lapply(together(rep(list(req), asked$times)), told))
  }
  lapply(seq_len(asked$times), function(time) told(req_perform(req)))
}

input <- file("stdin", open = "r", blocking = TRUE)
while (length(line <- readLines(input, n = 1L)) > 0) {
  asked <- jsonlite::fromJSON(line, simplifyVector = FALSE)
  said <- tryCatch(answered(asked), error = function(failure) conditionMessage(failure))
  cat(jsonlite::toJSON(said, auto_unbox = TRUE), "\n", sep = "")
  flush(stdout())
}
