//! The `maniple` command.

/// What one thread takes another often frees: the writer a caller's events, a driver the writer's answers.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    maniple::cli::main()
}
