//! OpenAI's Chat Completions, as OpenAI, vLLM, llama.cpp, Ollama, LM Studio and many others speak it.

mod calls;
pub mod reply;
pub mod request;
pub mod stream;
mod thought;

#[cfg(test)]
mod tests;
