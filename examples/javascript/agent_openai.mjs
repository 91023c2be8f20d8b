// An agent with the openai package: `node agent_openai.mjs http://localhost:8000/v1 MODEL`.

import OpenAI from 'openai';
import { DESCRIPTION, NAME, PARAMETERS, QUESTION, convertArea } from './area_tool.mjs';
import { servedModel } from './served_model.mjs';

const { baseURL, model } = await servedModel();
const client = new OpenAI({ baseURL, apiKey: 'none' });
const runner = client.chat.completions.runTools({
  model,
  temperature: 0,
  stream: true,
  messages: [{ role: 'user', content: QUESTION }],
  tools: [
    {
      type: 'function',
      function: {
        name: NAME,
        description: DESCRIPTION,
        parameters: PARAMETERS,
        parse: JSON.parse,
        function: convertArea,
      },
    },
  ],
});
runner.on('content', (delta) => process.stdout.write(delta));
await runner.done();
console.log();
