//! How many workers there are, for who divides a limit by them.

use super::{TaskStore, args::args};
use crate::redis::Census;
use async_trait::async_trait;
use maniple_core::Result;

#[async_trait]
impl Census for TaskStore {
    async fn workers(&self) -> Result<u64> {
        let counted = self.link.ask("SELECT count(*) FROM workers WHERE until > $1", args![self.link.now()]).await?;
        Ok(counted.first().map_or(0, |row| row.get::<_, i64>(0).unsigned_abs()))
    }
}
