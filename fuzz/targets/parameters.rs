#![no_main]

use ticklake_flight_server::fuzzing;

libfuzzer_sys::fuzz_target!(init: fuzzing::watch(), |bytes: &[u8]| fuzzing::hold(fuzzing::parameters, bytes));
