// The address and the model that an example is started with, and whether they are there.

// The two from the command line; where they are wrong the program ends with a sentence.
export async function servedModel() {
  const [, program, address, model] = process.argv;
  if (!model) end(`Usage: node ${program} http://localhost:8000/v1 MODEL`);
  const baseURL = address.replace(/\/+$/, '');
  let answer;
  try {
    answer = await fetch(`${baseURL}/models`);
  } catch (error) {
    const reason = error.cause?.message || error.message;
    end(`No server at ${baseURL} (${reason}): start one with \`vllm serve MODEL\`.`);
  }
  if (!answer.ok) {
    end(
      `${baseURL}/models answers ${answer.status} ${answer.statusText}: the address has to end ` +
        'in /v1, and the server to want no key.',
    );
  }
  const names = (await answer.json()).data.map(({ id }) => id);
  if (!names.includes(model)) {
    end(`The server at ${baseURL} has no model '${model}': it has ${names.join(', ')}.`);
  }
  return { baseURL, model };
}

function end(sentence) {
  console.error(sentence);
  process.exit(1);
}
