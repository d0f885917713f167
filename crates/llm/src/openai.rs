//! OpenAI's Chat Completions, as OpenAI, vLLM, llama.cpp, Ollama, LM Studio and many others speak it.

pub mod reply;
pub mod request;
pub mod stream;

#[cfg(test)]
mod tests;
