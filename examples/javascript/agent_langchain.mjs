// An agent with LangChain.js: `node agent_langchain.mjs http://localhost:8000/v1 MODEL`.

import { ChatOpenAI } from '@langchain/openai';
import { createAgent, tool } from 'langchain';
import { DESCRIPTION, NAME, PARAMETERS, QUESTION, convertArea } from './area_tool.mjs';
import { servedModel } from './served_model.mjs';

const { baseURL, model } = await servedModel();
const agent = createAgent({
  model: new ChatOpenAI({ model, temperature: 0, apiKey: 'none', configuration: { baseURL } }),
  tools: [tool(convertArea, { name: NAME, description: DESCRIPTION, schema: PARAMETERS })],
});
const chunks = await agent.stream(
  { messages: [{ role: 'user', content: QUESTION }] },
  { streamMode: 'messages' }, // Each is a piece of a message and where it comes from.
);
for await (const [message] of chunks) {
  if (message.type === 'ai') process.stdout.write(message.text);
}
console.log();
