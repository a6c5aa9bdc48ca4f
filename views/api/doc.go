// Package api answers for the window table over HTTP: sensors, their current and remembered windows, a stream of
// changes, health, readiness, the OpenAPI document and the live page.
//
// It reads only. What it shows comes from a Directory (the sensors as they stand) and a Hub (the changes as they
// happen), which the views fill; until the role "serve" has caught up every /api/v1 answer but the pipeline's counts is
// a 503 with the recovery's progress, so that a partial table is never mistaken for a whole one.
//
// The stream delivers the newest state of each window at least once, in the order of its changes. Superseded states are
// elided: a slow reader sees fewer of them, never an old one last. A reader that was away for longer than the Hub
// remembers, or that comes back to another process, is told to reload by an event "reset".
//
// Memory is bounded by the number of sensors, the Hub's capacity and the number of streams, whatever clients do.
package api
