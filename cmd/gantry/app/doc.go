// Package app puts the pipeline together: it makes topics and schemas, and runs the roles of a process (dedup, window,
// serve, archive) until it is told to stop. New connects and prepares, Run runs and shuts down in order: what is done is
// committed within a few seconds, and what is not is done again at the next start.
package app
