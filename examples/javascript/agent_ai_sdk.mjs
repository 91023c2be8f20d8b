// An agent with Vercel's AI SDK: `node agent_ai_sdk.mjs http://localhost:8000/v1 MODEL`.

import { createOpenAICompatible } from '@ai-sdk/openai-compatible';
import { isStepCount, jsonSchema, streamText, tool } from 'ai';
import { DESCRIPTION, NAME, PARAMETERS, QUESTION, convertArea } from './area_tool.mjs';
import { servedModel } from './served_model.mjs';

const { baseURL, model } = await servedModel();
const provider = createOpenAICompatible({ name: 'midm', baseURL, apiKey: 'none' });
const { textStream } = streamText({
  model: provider(model),
  temperature: 0,
  prompt: QUESTION,
  tools: {
    [NAME]: tool({
      description: DESCRIPTION,
      inputSchema: jsonSchema(PARAMETERS),
      execute: convertArea,
    }),
  },
  stopWhen: isStepCount(8), // Without it the first call is the end.
  onError({ error }) {
    throw error; // Otherwise it is printed, and the text is empty.
  },
});
for await (const delta of textStream) process.stdout.write(delta);
console.log();
