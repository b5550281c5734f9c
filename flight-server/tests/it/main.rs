//! A real server on a free port over a real lake in a temporary folder, asked by arrow-flight's Flight SQL client.

mod catalogs;
mod fixture;
mod prepared;
mod refusals;
mod results;
mod serving;
mod snapshots;
