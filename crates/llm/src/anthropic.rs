//! Anthropic's Messages API.

pub mod reply;
pub mod request;
pub mod stream;

#[cfg(test)]
mod tests;
