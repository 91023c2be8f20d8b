// Standard input: {"template", "requests"}; standard output: {"prompt"} or {"error"} of each.
import { readFileSync } from 'node:fs';
import { Template } from '@huggingface/jinja';

const { template, requests } = JSON.parse(readFileSync(0, 'utf8'));
const compiled = new Template(template);
const answers = requests.map((request) => {
  try {
    return { prompt: compiled.render(request) };
  } catch (error) {
    return { error: error.message };
  }
});
process.stdout.write(JSON.stringify(answers));
