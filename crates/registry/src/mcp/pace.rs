//! How fast a server is listened to: what comes faster stays where it is until there is time.

use futures::{Stream, StreamExt};
use std::{
    io,
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};
use tokio::{
    io::{AsyncRead, ReadBuf},
    time::{Instant, Sleep},
};

/// So many messages a second, and so many at once after a silence.
const MESSAGE_SPACING: Duration = Duration::from_micros(500);
const BURST: Duration = Duration::from_secs(1);

/// What is due at an even pace. As much as comes in a second is let through at once after a silence.
pub(super) struct Pace {
    /// When the next one would come, were all evenly spaced.
    next: Instant,
}

impl Pace {
    pub(super) fn new() -> Self {
        Self { next: Instant::now() }
    }
    /// Something came that is so much of a second's worth.
    pub(super) fn passed(&mut self, worth: Duration) {
        self.next = self.next.max(Instant::now()) + worth;
    }
    /// A message came.
    pub(super) fn message(&mut self) {
        self.passed(MESSAGE_SPACING);
    }
    /// When the next may be taken.
    pub(super) fn due(&self) -> Instant {
        self.next.checked_sub(BURST).unwrap_or(self.next)
    }
}

/// A stream of messages at the pace of messages.
pub(super) fn messages<T: Send + 'static>(stream: impl Stream<Item = T> + Send + 'static) -> impl Stream<Item = T> + Send + 'static {
    futures::stream::unfold((Box::pin(stream), Pace::new()), |(mut stream, mut pace)| async move {
        tokio::time::sleep_until(pace.due()).await;
        let message = stream.next().await?;
        pace.message();
        Some((message, (stream, pace)))
    })
}

/// A reader that, on average, reads no more than so many bytes a second.
pub(super) struct Paced<R> {
    reader: R,
    bytes_a_second: u64,
    pace: Pace,
    pause: Option<Pin<Box<Sleep>>>,
}

impl<R> Paced<R> {
    pub(super) fn new(reader: R, bytes_a_second: u64) -> Self {
        Self { reader, bytes_a_second, pace: Pace::new(), pause: None }
    }
}

impl<R: AsyncRead + Unpin> AsyncRead for Paced<R> {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if let Some(pause) = &mut self.pause {
            std::task::ready!(pause.as_mut().poll(cx));
            self.pause = None;
        }
        let before = buf.filled().len();
        std::task::ready!(Pin::new(&mut self.reader).poll_read(cx, buf))?;
        let read = (buf.filled().len() - before) as u64;
        let worth = Duration::from_nanos(read.saturating_mul(1_000_000_000) / self.bytes_a_second);
        self.pace.passed(worth);
        let due = self.pace.due();
        if due > Instant::now() {
            self.pause = Some(Box::pin(tokio::time::sleep_until(due)));
        }
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use tokio::io::AsyncReadExt;

    #[tokio::test(start_paused = true)]
    async fn a_flood_is_read_at_its_pace_and_a_trickle_at_once() {
        let started = Instant::now();
        let mut paced = Paced::new(tokio::io::repeat(b'x'), 32 << 20);
        let mut chunk = vec![0; 1 << 20];
        for _ in 0..32 {
            paced.read_exact(&mut chunk).await.unwrap();
        }
        assert_eq!(started.elapsed(), Duration::ZERO, "the first second's worth is read at once");
        for _ in 0..320 {
            paced.read_exact(&mut chunk).await.unwrap();
        }
        let seconds = started.elapsed().as_secs_f64();
        assert!((9.0..11.0).contains(&seconds), "{seconds}");
    }

    #[tokio::test(start_paused = true)]
    async fn a_flood_of_messages_is_taken_at_its_pace_and_the_first_ones_at_once() {
        let started = Instant::now();
        let mut paced = Box::pin(messages(futures::stream::repeat(())));
        for _ in 0..2_000 {
            paced.next().await.unwrap();
        }
        assert_eq!(started.elapsed(), Duration::ZERO);
        for _ in 0..20_000 {
            paced.next().await.unwrap();
        }
        let seconds = started.elapsed().as_secs_f64();
        assert!((9.0..11.0).contains(&seconds), "{seconds}");
    }
}
