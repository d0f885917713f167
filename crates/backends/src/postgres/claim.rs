//! Handing out work: claim, renew, release.
//!
//! Leases belong to workers. A worker renews all it holds by one row, whatever their number; what it does not name any more keeps
//! the lease it has. What the database says it holds and nobody here knows of, because the reply of the claim was lost, is handed
//! back at the next renewal but one, and that does not count towards poison.

use super::{
    args::args,
    batch::Work,
    failure::Refusal,
    here::Held,
    row::{self, columns, tables},
    signal,
    tx::{Ask, LockName, Locks, Tx},
};
use crate::{life::Row, rules};
use async_trait::async_trait;
use maniple_core::{
    AgentName, Result, SessionId, SessionKey, TaskKey, Tenant, Time,
    event::EVENT_VERSION,
    ports::{Born, Claim, Claimed, Renewal, Room},
    signal::SignalKind,
};
use std::collections::{BTreeMap, HashMap, HashSet};

/// How often a claim looks again when others took what it picked.
const LOOKS: usize = 8;
/// A journal longer than this is read in pieces.
const SHORT: i64 = 256;

/// A question for whether a worker of these agents could claim a task whose turn is before that of a new one of this tenant and priority.
pub(super) fn any_before(born: &Born, tenant: &Tenant, priority: u8) -> Ask {
    const SQL: &str =
        "SELECT EXISTS (SELECT 1 FROM ready WHERE agent = ANY($1) AND tenant <> ALL($2) AND (tenant <> $3 OR priority >= $4))";
    let agents: Vec<String> = born.agents.iter().map(ToString::to_string).collect();
    let full: Vec<String> = born.full.iter().map(ToString::to_string).collect();
    Ask(SQL, args![agents, full, tenant.as_str(), priority])
}

/// A task as it was handed out, its journal perhaps still to be read.
pub(super) struct HandedOut {
    pub(super) claimed: Claimed,
    pub(super) number: i64,
    pub(super) session: LockName,
    tenant: Tenant,
    pub(super) journal_missing: bool,
}

/// Whose turn is next is learnt once it is committed.
pub(super) fn served(tx: &super::link::Link, agents: &[AgentName], handed_out: &[HandedOut]) {
    for out in handed_out {
        tx.here.served(agents, out.tenant.clone());
    }
}

pub(super) async fn claim(tx: &mut Tx<'_>, agents: &[AgentName], room: &Room, worker: i64) -> Result<Vec<HandedOut>, Refusal> {
    let room = Room { places: room.places.min(rules::CLAIM_MAX), ..room.clone() };
    let names: Vec<String> = agents.iter().map(ToString::to_string).collect();
    let mut others = Vec::new();
    for _ in 0..LOOKS {
        let picked = in_turn(tx, agents, &names, &room, &others).await?;
        if picked.is_empty() {
            break;
        }
        let handed_out = take(tx, &picked, worker).await?;
        if !handed_out.is_empty() {
            return Ok(handed_out);
        }
        // Others are at all of them, and until they commit they seem to be there.
        others.extend(picked.into_iter().map(|(_, number)| number));
    }
    Ok(Vec::new())
}

/// The next tasks: tenants in turn, once around from the one served last, of each the highest priority first, then the lowest place.
/// None of those that others are at.
async fn in_turn(tx: &Tx<'_>, agents: &[AgentName], names: &[String], room: &Room, others: &[i64]) -> Result<Vec<(Tenant, i64)>, Refusal> {
    // From one tenant to the next by the index, however many tasks each has; those that have no room are passed over. Then of each
    // no more than its share can come to, read from where the index begins for it.
    const SQL: &str = "WITH RECURSIVE after(tenant, n) AS (\
           SELECT (SELECT min(f.tenant) FROM unnest($1::text[]) a(agent), LATERAL (\
             SELECT tenant FROM ready WHERE agent = a.agent AND tenant > $2 ORDER BY tenant LIMIT 1) f), 1 \
           UNION ALL SELECT (SELECT min(f.tenant) FROM unnest($1::text[]) a(agent), LATERAL (\
             SELECT tenant FROM ready WHERE agent = a.agent AND tenant > w.tenant ORDER BY tenant LIMIT 1) f), n + 1 \
           FROM after w WHERE w.tenant IS NOT NULL), \
         again(tenant, n) AS (\
           SELECT (SELECT min(f.tenant) FROM unnest($1::text[]) a(agent), LATERAL (\
             SELECT tenant FROM ready WHERE agent = a.agent ORDER BY tenant LIMIT 1) f), 1 \
           UNION ALL SELECT (SELECT min(f.tenant) FROM unnest($1::text[]) a(agent), LATERAL (\
             SELECT tenant FROM ready WHERE agent = a.agent AND tenant > w.tenant ORDER BY tenant LIMIT 1) f), n + 1 \
           FROM again w WHERE w.tenant < $2), \
         turn AS MATERIALIZED (\
           SELECT w.tenant, row_number() OVER () AS n, coalesce(l.most, $3) AS most \
           FROM (SELECT tenant FROM after WHERE tenant IS NOT NULL UNION ALL SELECT tenant FROM again WHERE tenant <= $2) w \
           LEFT JOIN unnest($4::text[], $5::bigint[]) l(tenant, most) ON l.tenant = w.tenant WHERE coalesce(l.most, $3) > 0 LIMIT $6) \
         SELECT t.tenant, q.task FROM turn t CROSS JOIN LATERAL (\
           SELECT r.task, row_number() OVER (ORDER BY r.priority DESC, r.place) AS nth FROM unnest($1::text[]) a(agent) CROSS JOIN LATERAL (\
             SELECT task, priority, place FROM ready WHERE agent = a.agent AND tenant = t.tenant AND task <> ALL($7) \
             ORDER BY priority DESC, place LIMIT least(t.most, greatest($6 + 1 - (SELECT count(*) FROM turn), 1))) r \
           ORDER BY nth LIMIT t.most) q ORDER BY q.nth, t.n LIMIT $6";
    let last = tx.link.here.last_served(agents);
    let last = last.as_ref().map_or("", Tenant::as_str);
    let (known, left): (Vec<String>, Vec<i64>) = room.left.keys().map(|tenant| (tenant.to_string(), room.left_of(tenant) as i64)).unzip();
    // Those that have some may be passed over for the last place.
    let most = room.places + room.left.len();
    let each = room.of_each.min(room.places);
    let rows = tx.rows(SQL, args![names.to_vec(), last, each, known, left, most, others.to_vec()]).await?;
    let mut picked: Vec<(Tenant, i64)> = Vec::new();
    let mut own: HashMap<Tenant, usize> = HashMap::new();
    for row in &rows {
        let tenant = Tenant::parse(row.try_get(0)?)?;
        let of_it = own.entry(tenant.clone()).or_default();
        if picked.len() < room.places_of(&tenant, *of_it) {
            *of_it += 1;
            picked.push((tenant, row.try_get(1)?));
        }
    }
    Ok(picked)
}

/// Takes those that nobody else takes at this moment.
async fn take(tx: &mut Tx<'_>, picked: &[(Tenant, i64)], worker: i64) -> Result<Vec<HandedOut>, Refusal> {
    const LOCK: &str = "SELECT task FROM live WHERE task = ANY($1) AND state = 2 ORDER BY task FOR UPDATE SKIP LOCKED";
    const ROWS: &str = concat!("SELECT ", columns!(), " FROM ", tables!(), " WHERE t.number = ANY($1)");
    const JOURNALS: &str =
        "SELECT seq, epoch, at, step, name, data, task FROM events WHERE task = ANY($1) AND seq <= $2 ORDER BY task, seq";
    const SIGNALS: &str = "SELECT id, kind, data, at, task FROM signals WHERE task = ANY($1) AND NOT read ORDER BY n";
    const EARLIER: &str = "SELECT number FROM tasks t WHERE number = ANY($1) AND EXISTS (SELECT 1 FROM tasks o WHERE o.tenant = t.tenant \
                           AND o.agent = t.agent AND o.session = t.session AND o.place < t.place AND o.gone_until IS NULL)";
    let numbers: Vec<i64> = picked.iter().map(|(_, number)| *number).collect();
    let asks = vec![
        Ask(LOCK, args![numbers.clone()]),
        Ask(ROWS, args![numbers.clone()]),
        Ask(JOURNALS, args![numbers.clone(), SHORT]),
        Ask(SIGNALS, args![numbers.clone()]),
        Ask(EARLIER, args![numbers]),
    ];
    let answers: [Vec<tokio_postgres::Row>; 5] = tx.under_locks(asks).await?.try_into().expect("five were asked");
    let [taken, rows, journals, signals, earlier] = answers;
    let taken: HashSet<i64> = taken.iter().map(|row| row.get(0)).collect();
    let picked: Vec<&(Tenant, i64)> = picked.iter().filter(|(_, number)| taken.contains(number)).collect();
    if picked.is_empty() {
        return Ok(Vec::new());
    }
    let numbers: Vec<i64> = picked.iter().map(|(_, number)| *number).collect();
    let mut by_number: HashMap<i64, row::Seen> = HashMap::new();
    for row in &rows {
        let seen = row::seen(row)?;
        if taken.contains(&seen.row.number) {
            tx.now = tx.now.max(seen.at);
        }
        by_number.insert(seen.row.number, seen);
    }
    let mut journals_of: HashMap<i64, Vec<maniple_core::event::StoredEvent>> = HashMap::new();
    for (row, (_, event)) in journals.iter().zip(row::journal(&journals)?) {
        journals_of.entry(row.try_get(6)?).or_default().push(event);
    }
    let mut signals_of: HashMap<i64, Vec<maniple_core::signal::Signal>> = HashMap::new();
    for (row, signal) in signals.iter().zip(signal::unread(&signals)?) {
        signals_of.entry(row.try_get(4)?).or_default().push(signal);
    }
    let earlier: HashSet<i64> = earlier.iter().map(|row| row.get(0)).collect();

    let mut handed_out = Vec::with_capacity(picked.len());
    for (tenant, number) in picked {
        let Some(row::Seen { mut row, .. }) = by_number.remove(number) else { continue };
        row.claimed(tx.now);
        let claimed = Claimed {
            claim: Claim { key: row.key(), epoch: row.epoch as u64 },
            lease: rules::LEASE,
            now: tx.now,
            created_at: row.header.created_at,
            journal: journals_of.remove(number).unwrap_or_default(),
            signals: signals_of.remove(number).unwrap_or_default(),
            has_history: earlier.contains(number),
        };
        let (session, journal_missing) = (row::session_lock(&row::session(&row)), row.last_seq > SHORT);
        handed_out.push(HandedOut { claimed, number: *number, session, tenant: tenant.clone(), journal_missing });
    }
    let update = "UPDATE live SET state = 3, epoch = epoch + 1, started_at = coalesce(started_at, $2), progressed = false, due = NULL, \
                  worker = $3, lease_until = $4, born = NULL, at = $2 WHERE task = ANY($1)";
    tx.write(update, args![numbers.clone(), tx.now, worker, tx.now.plus(rules::LEASE)]);
    tx.write("DELETE FROM ready WHERE task = ANY($1)", args![numbers]);
    Ok(handed_out)
}

/// What a renewal learnt, for this process to remember once it is committed.
#[derive(Default)]
pub(super) struct Renewed {
    pub(super) renewals: Vec<Renewal>,
    /// As they are known here, by key and epoch.
    lost: Vec<(TaskKey, u64)>,
    held: Vec<(TaskKey, Held)>,
    unknown: HashSet<(i64, i64)>,
    /// Claims whose reply was lost: to be handed back.
    pub(super) strays: Vec<(i64, i64)>,
}

impl Renewed {
    pub(super) fn remember(&self, link: &super::link::Link) {
        let mut claims = link.here.claims();
        for (key, epoch) in &self.lost {
            claims.let_go(key, *epoch);
        }
        for (key, held) in &self.held {
            // One that was handed out anew meanwhile stays as it is; one that has ended meanwhile is found gone by the next renewal.
            if claims.held.get(key).is_none_or(|known| known.epoch == held.epoch) {
                claims.held.insert(key.clone(), held.clone());
            }
        }
        claims.unknown.clone_from(&self.unknown);
    }
}

pub(super) async fn renew(tx: &mut Tx<'_>, claims: &[Claim], worker: i64) -> Result<Renewed, Refusal> {
    let held = tx.link.here.claims().held.clone();
    let unknown_before = tx.link.here.claims().unknown.clone();
    // The worker before its tasks, as whoever sweeps has them.
    let own = "SELECT until FROM workers WHERE number = $1 FOR UPDATE";
    let mine = "SELECT l.task, l.epoch, coalesce((SELECT array_agg(DISTINCT kind) FROM signals s WHERE l.signals > 0 AND s.task = l.task AND NOT s.read), '{}') \
                FROM live l WHERE l.worker = $1 AND l.state = 3";
    let others = "SELECT n.i, l.task, l.epoch, coalesce((SELECT array_agg(DISTINCT kind) FROM signals s WHERE s.task = l.task AND NOT s.read), '{}'), \
                    t.agent, t.session \
                  FROM unnest($1::text[], $2::text[], $3::bigint[]) WITH ORDINALITY n(tenant, id, epoch, i) \
                  JOIN tasks t ON t.tenant = n.tenant AND t.id = n.id JOIN live l ON l.task = t.number AND l.epoch = n.epoch AND l.state = 3 \
                  ORDER BY l.task FOR UPDATE OF l";
    let answers: [Vec<tokio_postgres::Row>; 2] =
        tx.under_locks(vec![Ask(own, args![worker]), Ask(mine, args![worker])]).await?.try_into().expect("two were asked");
    let until = answers[0].first().map_or(0, |row| row.get::<_, i64>(0));
    let mut mine: BTreeMap<i64, (i64, Vec<String>)> = BTreeMap::new();
    for row in &answers[1] {
        mine.insert(row.try_get(0)?, (row.try_get(1)?, row.try_get(2)?));
    }

    let mut found = Renewed::default();
    let mut named: HashSet<i64> = HashSet::new();
    let mut elsewhere: Vec<(usize, &Claim)> = Vec::new();
    for (at, claim) in claims.iter().enumerate() {
        let known = held.get(&claim.key).filter(|held| held.epoch == claim.epoch);
        let here =
            known.and_then(|held| mine.get(&held.number).filter(|(epoch, _)| *epoch as u64 == claim.epoch).map(|(_, kinds)| (held, kinds)));
        match here {
            Some((known, kinds)) => {
                named.insert(known.number);
                found.held.push((claim.key.clone(), Held { is_renewed: true, ..known.clone() }));
                found.renewals.push(Renewal::Held(kinds_of(kinds)));
            }
            None => {
                elsewhere.push((at, claim));
                found.renewals.push(Renewal::Lost);
            }
        }
    }
    // Those whose lease stands by itself, or that another store of this process took.
    let mut adopted: HashSet<i64> = HashSet::new();
    if !elsewhere.is_empty() {
        let tenants: Vec<String> = elsewhere.iter().map(|(_, claim)| claim.key.tenant.to_string()).collect();
        let ids: Vec<String> = elsewhere.iter().map(|(_, claim)| claim.key.id.to_string()).collect();
        let epochs: Vec<i64> = elsewhere.iter().map(|(_, claim)| claim.epoch as i64).collect();
        for row in tx.rows(others, args![tenants, ids, epochs]).await? {
            let (at, number): (i64, i64) = (row.try_get(0)?, row.try_get(1)?);
            let (at, claim) = elsewhere[at as usize - 1];
            found.renewals[at] = Renewal::Held(kinds_of(&row.try_get::<_, Vec<String>>(3)?));
            let (agent, id) = (AgentName::parse(row.try_get(4)?)?, SessionId::parse(row.try_get(5)?)?);
            let session = row::session_lock(&SessionKey { tenant: claim.key.tenant.clone(), agent, id });
            found.held.push((claim.key.clone(), Held { number, session, epoch: claim.epoch, is_renewed: true }));
            adopted.insert(number);
        }
    }
    // What was known here as the database was asked, and is nobody's or another's there.
    let is_gone =
        |held: &Held| !adopted.contains(&held.number) && mine.get(&held.number).is_none_or(|(epoch, _)| *epoch as u64 != held.epoch);
    found.lost = held.iter().filter(|(_, held)| is_gone(held)).map(|(key, held)| (key.clone(), held.epoch)).collect();

    let known_here: HashSet<i64> = held.values().map(|held| held.number).collect();
    let mut unnamed: Vec<i64> = Vec::new();
    for (number, (epoch, _)) in &mine {
        if named.contains(number) || adopted.contains(number) {
            continue;
        }
        if known_here.contains(number) {
            unnamed.push(*number);
        } else if unknown_before.contains(&(*number, *epoch)) {
            found.strays.push((*number, *epoch));
        } else {
            // Its reply may still be on the way.
            found.unknown.insert((*number, *epoch));
        }
    }
    if !unnamed.is_empty() {
        // One that somebody is at is left to the next renewal.
        let detach = "UPDATE live SET worker = NULL, lease_until = greatest(lease_until, $2) WHERE task IN (\
                        SELECT task FROM live WHERE task = ANY($1) AND worker = $3 AND state = 3 FOR UPDATE SKIP LOCKED)";
        tx.write(detach, args![unnamed, until, worker]);
    }
    if !adopted.is_empty() {
        let attach = "UPDATE live SET worker = $2, lease_until = $3 WHERE task = ANY($1)";
        let adopted: Vec<i64> = adopted.into_iter().collect();
        tx.write(attach, args![adopted, worker, tx.now.plus(rules::LEASE)]);
    }
    // Who sweeps holds the row while it looks: a renewal waits for that, and counts from then on.
    if Time(until) < tx.now.plus(rules::LEASE.saturating_sub(tx.link.slack)) {
        // Its row may have been taken for that of one that is gone.
        let renew = "INSERT INTO workers (number, event_version, until) OVERRIDING SYSTEM VALUE VALUES ($1, $2, $3) \
                     ON CONFLICT (number) DO UPDATE SET until = excluded.until";
        tx.write(renew, args![worker, EVENT_VERSION, tx.now.plus(rules::LEASE)]);
    }
    Ok(found)
}

fn kinds_of(names: &[String]) -> Vec<SignalKind> {
    let mut kinds: Vec<SignalKind> = names.iter().filter_map(|name| SignalKind::parse(name)).collect();
    kinds.sort_unstable_by_key(|kind| kind.as_str());
    kinds
}

/// Hands a claim over. It keeps its place, so its session's lock is not needed.
pub(super) async fn release(tx: &mut Tx<'_>, claim: &Claim) -> Result<(), Refusal> {
    let seen = row::locked(tx, &claim.key, false).await?;
    make_ready(tx, seen, claim.epoch);
    Ok(())
}
fn make_ready(tx: &mut Tx<'_>, seen: Option<row::Seen>, epoch: u64) {
    if let Some(mut row) = seen.map(|seen| seen.row).filter(|row: &Row| row.is_held_under(epoch)) {
        row::make_ready(tx, &mut row);
    }
}

/// A claim that is handed over, known to be held here.
pub(super) struct Releasing(pub(super) Held);

#[async_trait]
impl Work for Releasing {
    type Answer = ();
    fn locks(&self) -> Locks {
        Locks { task: Some(self.0.number), ..Locks::default() }
    }
    async fn work(&self, tx: &mut Tx<'_>) -> Result<(), Refusal> {
        let seen = row::known(tx, self.0.number).await?;
        make_ready(tx, seen, self.0.epoch);
        Ok(())
    }
}

/// Hands a claim back whose reply never came.
pub(super) async fn hand_back(tx: &mut Tx<'_>, number: i64, epoch: i64) -> Result<(), Refusal> {
    let lock = Ask("SELECT 1 FROM live WHERE task = $1 FOR UPDATE", args![number]);
    let answers = tx.under_locks(vec![lock, row::of_number(number)]).await?;
    make_ready(tx, row::found(answers.last().map_or(&[][..], Vec::as_slice))?, epoch as u64);
    Ok(())
}

/// When a claim's lease runs out: its own moment or its worker's, whichever is later.
pub(super) const LEASE_OF: &str = "greatest(l.lease_until, coalesce((SELECT w.until FROM workers w WHERE w.number = l.worker), 0))";
