//! Parse, dispatch, render the error, exit code: everything else is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    lsn::cli::main()
}
