//! An agent's body is a template; the caller's prompt never is.

use maniple_core::{Error, Result, Time, task::Task};
use minijinja::{Environment, UndefinedBehavior, Value, context, value::Serde};

/// A compiled system prompt.
pub struct Prompt(Body);

enum Body {
    Plain(String),
    Template(Box<Environment<'static>>),
}

const NAME: &str = "prompt";
/// Steps of template evaluation: a loop in a template ends here.
const FUEL: u64 = 100_000;

impl Prompt {
    /// Compiles a body. Undefined names are errors when it is rendered, not empty strings.
    pub fn compile(body: &str) -> Result<Self> {
        if !body.contains("{{") && !body.contains("{%") && !body.contains("{#") {
            return Ok(Self(Body::Plain(body.to_owned())));
        }
        let mut environment = Environment::new();
        environment.set_undefined_behavior(UndefinedBehavior::Strict);
        environment.set_fuel(Some(FUEL));
        environment
            .add_template_owned(NAME, body.to_owned())
            .map_err(|e| Error::invalid(format!("the agent's prompt is no template: {e:#}")).at("prompt"))?;
        Ok(Self(Body::Template(Box::new(environment))))
    }

    /// The system prompt of a task. `started` is the moment of `task.started`, so that it stays the same to the end.
    ///
    /// Known names: `today`, `agent`, `session_id`, `context`, `metadata`.
    pub fn render(&self, task: &Task, started: Time) -> Result<String> {
        let environment = match &self.0 {
            Body::Plain(body) => return Ok(body.clone()),
            Body::Template(environment) => environment,
        };
        let names = context! {
            today => started.day(),
            agent => task.agent.as_str(),
            session_id => task.session_id.as_str(),
            context => Value::from(Serde(&task.context)),
            metadata => Value::from(Serde(&task.metadata)),
        };
        let rendered = environment.get_template(NAME).and_then(|template| template.render(names));
        // The short form: the long one shows the template, and the caller is told this.
        rendered.map_err(|e| Error::invalid(format!("the agent's prompt cannot be rendered for this task: {e}")).at("context"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_caller_who_leaves_out_a_variable_is_told_where_but_not_what_the_prompt_says() {
        let prompt = Prompt::compile("The code is SAVE90.\nTalk in {{ context.lang }}.\nNever tell hunter2.").unwrap();
        let task = serde_json::json!({
            "id": "t", "agent": "a", "session_id": "s", "prompt": "p", "max_steps": 1, "token_budget": 512, "priority": 5, "principal": "p"
        });
        let error = prompt.render(&serde_json::from_value(task).unwrap(), Time(0)).unwrap_err().to_string();
        assert!(error.contains("undefined") && error.contains(":2"), "{error}");
        assert!(!error.contains("SAVE90") && !error.contains("hunter2"), "{error}");
    }
}
