package stages

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/eci-executor/eci-executor/internal/config"
)

// envMost is how many variables a service gets: ECI takes 241 for a container
// (sources.md: metadata), of which log_service may need 7.
const envMost = 234

// inEnv tells whether ECI takes a variable into a container's environment.
func inEnv(v Variable) bool {
	return config.EnvName(v.Key) && utf8.RuneCountInString(v.Value) <= config.EnvValueMax
}

// publicVariables are the job's variables that services may see, expanded as the runner does
// it: once, and not where they are raw. A reference to a variable that is not public stays
// unexpanded, since its value must not stand in a request. Of two variables of one name the
// last counts, also for whether it is public.
func publicVariables(variables []Variable) []Variable {
	last := map[string]Variable{}
	for _, v := range variables {
		last[v.Key] = v
	}
	var public []Variable
	for _, key := range sortedKeys(last) {
		v := last[key]
		if !v.public() {
			continue
		}
		v.Value = v.expanded(func(name string) string {
			if of, known := last[name]; known && !of.public() {
				v.hidden = name
				return "${" + name + "}"
			}
			return last[name].Value
		})
		public = append(public, v)
	}
	return public
}

// runnersOwn are the variables that the runner itself adds and that services may see. They
// come before the job's, so that a job's variable of the same name counts.
func runnersOwn(env Env) (variables []Variable) {
	for _, key := range []string{"CI_BUILDS_DIR", "CI_PROJECT_DIR"} {
		if env.Custom[key] != "" {
			variables = append(variables, Variable{Key: key, Value: env.Custom[key], Public: true, Raw: true})
		}
	}
	return variables
}

func (v Variable) public() bool { return v.Public && !v.File && !v.Masked }

func (v Variable) expanded(value func(name string) string) string {
	if v.Raw {
		return v.Value
	}
	return os.Expand(v.Value, func(name string) string {
		if name == "$" {
			return name
		}
		return value(name)
	})
}

// expandServices expands the own variables of the job's services. told is the variable
// CI_JOB_SERVICES, by which a runner since 19.x gives their values, in the order of the
// services (sources.md: custom-executor); where it does not, they are expanded here. They
// may refer to any variable of the job, as the same author wrote both.
func (job *Job) expandServices(told string) {
	var runners []struct {
		Name      string            `json:"name"`
		Variables map[string]string `json:"variables"`
	}
	if err := json.Unmarshal([]byte(told), &runners); err != nil || len(runners) != len(job.Services) {
		runners = nil
	}
	for i, s := range job.Services {
		var values map[string]string
		if runners != nil && runners[i].Name == s.Name {
			values = runners[i].Variables
		}
		own := map[string]string{}
		for _, v := range s.Variables {
			own[v.Key] = v.Value
		}
		for j, v := range s.Variables {
			value, known := values[v.Key]
			if !known {
				value = v.expanded(func(name string) string {
					if value, isOwn := own[name]; isOwn {
						return value
					}
					return job.variables[name]
				})
			}
			s.Variables[j].Value = value
		}
	}
}

func (i Image) has(key string) bool {
	return slices.ContainsFunc(i.Variables, func(v Variable) bool { return v.Key == key })
}

// own is the value of an image's own variable, "" where it has none.
func (i Image) own(key string) string {
	for _, v := range slices.Backward(i.Variables) {
		if v.Key == key {
			return v.Value
		}
	}
	return ""
}

// leftOut says, a line each, which variables services do not get as the job has them: the
// job's that refer to one that is not public, their own that ECI does not take, and those
// that are too many for it.
func leftOut(job *Job) (lines []string) {
	for _, v := range job.PublicVariables {
		missed := func(s Image) bool { return !s.has(v.Key) }
		if v.hidden != "" && slices.ContainsFunc(job.Services, missed) {
			lines = append(lines, fmt.Sprintf("services get the variable %s with ${%s} as it stands, which is not public: a service that needs its value has to name %s among its own variables", v.Key, v.hidden, v.Key))
		}
	}
	for _, s := range job.Services {
		for _, v := range s.Variables {
			if !inEnv(v) {
				lines = append(lines, fmt.Sprintf("the variable %s of service %s is left out: ECI takes values of at most %d characters, and names of letters, digits and _", v.Key, s.Name, config.EnvValueMax))
			}
		}
		if _, missed := serviceEnv(job, s); len(missed) > 0 {
			lines = append(lines, fmt.Sprintf("service %s gets %d variables, as ECI bounds their number, and not %s", s.Name, envMost, strings.Join(missed, ", ")))
		}
	}
	return lines
}
