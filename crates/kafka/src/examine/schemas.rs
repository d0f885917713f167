//! Whether a schema registry answers, and whether results may be registered there.

use crate::{SchemaRegistry, avro};
use futures::StreamExt;
use maniple_core::{AgentName, Kind, Result, finding::Finding};
use std::time::{Duration, Instant};

/// How many subjects are asked about at the same time.
const BESIDE: usize = 8;

/// What is registered for the results of an agent.
struct Subject {
    name: String,
    /// How far a newer schema may differ; the registry's own rule where the subject has none.
    compatibility: Option<String>,
    /// Whether the schema of our results may stand there; true where there is none yet.
    fits: bool,
}

/// Asks the registry, within that bound. Nothing is registered.
pub(super) async fn look(registry: &SchemaRegistry, namespace: &str, agents: &[AgentName], within: Duration) -> Vec<Finding> {
    let asked = tokio::time::timeout(within, ask(registry, namespace, agents)).await;
    match asked {
        Ok(Ok(findings)) => findings,
        Ok(Err(error)) => vec![away(&error.message)],
        Err(_) => vec![away(&format!("{} did not answer all within {} s", registry.address(), within.as_secs()))],
    }
}

fn away(why: &str) -> Finding {
    let next = "start it, or correct `schema_registry`: until then framed records and results wait, and nothing is lost";
    Finding::failed("schema registry", why.to_owned(), next)
}

async fn ask(registry: &SchemaRegistry, namespace: &str, agents: &[AgentName]) -> Result<Vec<Finding>> {
    let began = Instant::now();
    let rule = registry.compatibility(None).await?;
    let took = began.elapsed().as_millis();
    let rule =
        rule.map_or_else(|| "it has no rule for subjects without one".to_owned(), |rule| format!("subjects without a rule are {rule}"));
    let mut findings = vec![Finding::ok("schema registry", format!("it answers, {took} ms from here; {rule}"))];
    let schema = avro::result_schema(namespace);
    let subjects = agents.iter().map(|agent| subject(registry, agent, &schema));
    let mut subjects: Vec<Result<Subject>> = futures::stream::iter(subjects).buffered(BESIDE).collect().await;
    if let Some(failed) = subjects.iter().position(Result::is_err)
        && let Err(error) = subjects.swap_remove(failed)
    {
        return Err(error);
    }
    let subjects: Vec<Subject> = subjects.into_iter().flatten().collect();
    findings.extend(judge(&subjects));
    Ok(findings)
}

async fn subject(registry: &SchemaRegistry, agent: &AgentName, schema: &str) -> Result<Subject> {
    let topic = agent.results_topic();
    let fits = match registry.takes(&topic, schema).await {
        Ok(fits) => fits,
        // There is none yet.
        Err(error) if error.kind == Kind::NotFound => true,
        Err(error) => return Err(error),
    };
    Ok(Subject { compatibility: registry.compatibility(Some(&topic)).await?, name: format!("{topic}-value"), fits })
}

fn judge(subjects: &[Subject]) -> Vec<Finding> {
    let named =
        |is: &dyn Fn(&&Subject) -> bool| subjects.iter().filter(is).map(|subject| subject.name.as_str()).collect::<Vec<_>>().join(", ");
    let (refused, loose) = (named(&|subject| !subject.fits), named(&|subject| subject.compatibility.as_deref() == Some("NONE")));
    let mut findings = Vec::new();
    if !refused.is_empty() {
        findings.push(Finding::failed(
            "schemas",
            format!("{refused}: what is registered there is not compatible with our results, which are held up"),
            "look at who registered it: delete the subject, or choose another `kafka.namespace`",
        ));
    }
    if !loose.is_empty() {
        findings.push(Finding::warning(
            "schemas",
            format!("{loose}: any schema may follow another (NONE), whether readers understand it or not"),
            "set the subject's compatibility to BACKWARD",
        ));
    }
    if findings.is_empty() && !subjects.is_empty() {
        findings.push(Finding::ok("schemas", "the schema of results fits what is registered, or is registered with the first result"));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;
    use maniple_core::finding::State;

    #[test]
    fn a_subject_that_refuses_results_fails_and_one_without_a_rule_is_a_warning() {
        let subject = |name: &str, rule: Option<&str>, fits| Subject { name: name.into(), compatibility: rule.map(str::to_owned), fits };
        let states = |subjects: &[Subject]| judge(subjects).into_iter().map(|finding| finding.state).collect::<Vec<_>>();
        assert_eq!(states(&[]), []);
        assert_eq!(states(&[subject("a", Some("BACKWARD"), true), subject("b", None, true)]), [State::Ok]);
        let both = [subject("a", Some("NONE"), true), subject("b", None, false)];
        assert_eq!(states(&both), [State::Failed, State::Warning]);
        assert!(judge(&both)[0].said.starts_with("b:") && judge(&both)[1].said.starts_with("a:"));
    }
}
