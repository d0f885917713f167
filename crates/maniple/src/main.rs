//! The `maniple` command.

fn main() -> std::process::ExitCode {
    maniple::cli::main()
}
